"""The journal from and to spreadsheets."""
