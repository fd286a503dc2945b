"""The image that every component runs in; named once, here."""

import os

# Local subprocess runs ignore it. `ranzcr pipeline compile --image` sets the variable.
RANZCR = os.environ.get("RANZCR_IMAGE", "ranzcr-python:local")
