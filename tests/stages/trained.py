"""A tiny experiment for the tests of the stages around training."""

from ranzcr.config import DataConfig, Experiment, ModelConfig, Phase, TrainingConfig


def tiny(name: str = "tiny", **changes: object) -> Experiment:
    """One epoch of a tiny network on 48 px, predicted with flips."""
    return Experiment(
        name=name,
        model=ModelConfig(backbone="test_efficientnet"),
        data=DataConfig(image_size=48, batch_size=8, workers=0),
        training=TrainingConfig(recipe=(Phase(name="train", epochs=1, lr=3e-3),)),
        tta="flip",
    ).model_copy(update=changes)
