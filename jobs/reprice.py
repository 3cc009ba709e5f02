"""`ray job submit -- python jobs/reprice.py --run runs/demo`: reprice from the sample log (`--every 15` repeats)."""

from greenflow_ray.cli import main

if __name__ == "__main__":
    import sys

    sys.argv.insert(1, "reprice")
    main()
