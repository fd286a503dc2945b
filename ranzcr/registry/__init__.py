"""The registered models: candidates, gates, promotion, the ledger, who may do what."""
