"""Seconds for 1,000 phantoms of 512 px, of which under 60 on 2 cores are asked for.

A folder of 800 train studies has 200 test studies beside them: 1,000 images.
"""

import tempfile
import time
from pathlib import Path

from ranzcr.data.phantom import write_competition

SIZE, IMAGES, LIMIT_SECONDS, WORKERS = 512, 1000, 60, 2


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        start = time.perf_counter()
        folder = write_competition(
            Path(scratch) / "phantoms", studies=IMAGES * 4 // 5, size=SIZE, workers=WORKERS
        )
        seconds = time.perf_counter() - start
        drawn = list(folder.glob("*/*.jpg"))
        megabytes = sum(path.stat().st_size for path in drawn) / 1e6
    print(f"{len(drawn)} phantoms of {SIZE} px, {WORKERS} workers: {seconds:.1f} s")
    print(f"limit {LIMIT_SECONDS} s: {seconds / LIMIT_SECONDS:.2f} of it; {megabytes:.0f} MB")


if __name__ == "__main__":
    main()
