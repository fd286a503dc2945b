"""`python -m ranzcr.cli ...` is `ranzcr ...`."""

from ranzcr.cli import main

main()
