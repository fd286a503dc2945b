"""A timm model without its classifier: images -> feature map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import timm
import torch
from timm.models import adapt_input_conv
from torch import Tensor, nn

from ranzcr.config import ModelConfig
from ranzcr.errors import ConfigError, nearest

# Shape suffixes in this file: B images, C channels, H x W feature map.


class Backbone(nn.Module):
    """A convolutional timm model up to its last feature map.

    Shape: (B, in_channels, S, S) normalised images -> (B, channels, H, W).
    Raises ConfigError for a name that timm does not know or weights that do not fit.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.name = config.backbone
        encoder: Any = _create(config)  # timm's models share methods, not a base class
        if config.pretrained and config.weights:
            _load_weights(encoder, Path(config.weights), config.backbone)
        self.encoder = encoder
        self.channels: int = encoder.num_features
        # Channels of the feature pyramid, finest first; its last level is the feature map.
        finer = [level["num_chs"] for level in encoder.feature_info[:-1]]
        self.pyramid_channels = [*finer, self.channels]

    def forward(self, images: Tensor) -> Tensor:
        return self._checked(self.encoder.forward_features(images))

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """The maps of each scale, finest first; the last is what `forward` gives."""
        features_BCHW, levels = self.encoder.forward_intermediates(images)
        return [*levels[:-1], self._checked(features_BCHW)]

    def _checked(self, features_BCHW: Tensor) -> Tensor:
        if features_BCHW.ndim != 4 or features_BCHW.shape[1] != self.channels:
            raise ConfigError(
                f"model.backbone {self.name}: gives {tuple(features_BCHW.shape)}, expected "
                f"(B, {self.channels}, H, W); choose a convolutional model"
            )
        return features_BCHW


def _create(config: ModelConfig) -> nn.Module:
    if not timm.is_model(config.backbone):
        raise ConfigError(
            f"model.backbone: timm has no {config.backbone!r}; {_near(config.backbone)}"
        )
    from_hub = config.pretrained and not config.weights
    options: dict[str, Any] = {"drop_path_rate": config.drop_path} if config.drop_path else {}
    try:
        return timm.create_model(
            config.backbone,
            pretrained=from_hub,
            in_chans=config.in_channels,
            num_classes=0,
            global_pool="",
            **options,
        )
    except TypeError:
        raise ConfigError(
            f"model.drop_path={config.drop_path}: {config.backbone} has no stochastic depth; "
            "set it to 0"
        ) from None
    except (OSError, RuntimeError) as error:
        if not from_hub:
            raise
        raise ConfigError(
            f"model.pretrained: no weights of {config.backbone} from timm's hub "
            f"({_first_line(error)}); give a file as model.weights or set model.pretrained=false"
        ) from None


def _near(name: str) -> str:
    near = nearest(name, timm.list_models())
    return near if near.startswith("did you mean") else "see timm.list_models()"


def _load_weights(encoder: Any, path: Path, backbone: str) -> None:
    """Fill `encoder` from a file of the whole timm model; its classifier is left out."""
    weights = _read(path)
    origin = encoder.pretrained_cfg
    for name in _as_names(origin.get("classifier")):
        for key in [key for key in weights if key.startswith(f"{name}.")]:
            del weights[key]
    own = encoder.state_dict()
    for name in _as_names(origin.get("first_conv")):
        key = f"{name}.weight"
        if key in weights and key in own and weights[key].ndim == 4:
            weights[key] = adapt_input_conv(own[key].shape[1], weights[key])
    missing = sorted(own.keys() - weights.keys())
    unknown = sorted(weights.keys() - own.keys())
    other = [key for key in own if key in weights and own[key].shape != weights[key].shape]
    if wrong := missing + unknown + other:
        raise ConfigError(
            f"{path}: not the weights of {backbone}: {len(missing)} missing, "
            f"{len(unknown)} unknown, {len(other)} of another shape, as {wrong[0]}; "
            "set model.backbone to the model they were saved from"
        )
    encoder.load_state_dict(weights)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ConfigError(f"model.weights: no file {path}; give a .safetensors or .pth file")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)  # never runs its code
    except (safetensors.SafetensorError, RuntimeError, ValueError, EOFError, OSError) as error:
        raise ConfigError(f"{path}: cannot be read as weights ({_first_line(error)})") from None
    except Exception as error:  # torch.load raises pickle.UnpicklingError for what is not a tensor
        raise ConfigError(
            f"{path}: holds more than tensors ({type(error).__name__}); save it as .safetensors"
        ) from None
    tensors: dict[str, Tensor] = weights.get("state_dict", weights)
    return tensors


def _as_names(names: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names or ())


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
