"""The whole network: grey levels in, one logit per label out."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from ranzcr.config import ModelConfig
from ranzcr.labels import LabelSchema
from ranzcr.models import heads
from ranzcr.models.backbone import Backbone
from ranzcr.models.decoder import MaskDecoder

# Shape suffixes in this file: B images, C channels, S pixels a side, H x W map, L labels,
# F device families.


class NetworkOutputs(NamedTuple):
    """The outputs of a network for a batch."""

    logits_BL: Tensor
    features_BCHW: Tensor
    masks_BFHW: Tensor | None  # logits; None without a mask decoder


class Normalise(nn.Module):
    """0 .. 255 -> -2 .. 2: (x / 255 - 0.5) / 0.25, and grey repeated where colour is expected.

    It is part of the network so that torch, ONNX and a server cannot differ.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, images: Tensor) -> Tensor:
        channels = images.shape[1] if images.ndim == 4 else None
        if channels not in (1, self.channels):
            expected = "1" if self.channels == 1 else f"1 or {self.channels}"
            raise ValueError(
                f"images are {tuple(images.shape)}, expected (B, {expected}, S, S); "
                "set model.in_channels=3 for colour"
            )
        return (images.float() / 63.75 - 2).expand(-1, self.channels, -1, -1)


class Network(nn.Module):
    """Backbone -> feature map -> head -> logits, with an optional mask decoder.

    Shape: (B, 1 or in_channels, S, S) uint8 or float, 0 .. 255 -> (B, L) logits in schema order.
    Raises ConfigError for a backbone that does not exist or weights that do not fit.
    """

    def __init__(self, config: ModelConfig, schema: LabelSchema) -> None:
        super().__init__()
        self.config = config
        self.schema = schema
        self.normalise = Normalise(config.in_channels)
        self.backbone = Backbone(config)
        self.gate = heads.SpatialGate() if config.spatial_attention else nn.Identity()
        self.head = heads.build(config.head, self.backbone.channels, schema, config.dropout)
        self.decoder = (
            MaskDecoder(self.backbone.pyramid_channels, len(schema.families))
            if config.mask_decoder
            else None
        )

    def forward(self, images: Tensor) -> Tensor:
        logits_BL: Tensor = self.head(self.features(images))
        return logits_BL

    def features(self, images: Tensor) -> Tensor:
        """The (B, C, H, W) map that the head pools: what distillation compares."""
        features_BCHW: Tensor = self.gate(self.backbone(self.normalise(images)))
        return features_BCHW

    def outputs(self, images: Tensor) -> NetworkOutputs:
        """Return logits and the feature map, and masks if there is a decoder."""
        if self.decoder is None:
            features_BCHW, masks_BFHW = self.features(images), None
        else:
            pyramid = self.backbone.pyramid(self.normalise(images))
            features_BCHW, masks_BFHW = self.gate(pyramid[-1]), self.decoder(pyramid)
        return NetworkOutputs(self.head(features_BCHW), features_BCHW, masks_BFHW)
