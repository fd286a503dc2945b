"""Networks: timm backbone -> feature map -> head -> one logit per label."""

from ranzcr.models import torchvision_shim

torchvision_shim.install()  # before anything imports timm or lightning
