"""`ray job submit -- python jobs/join.py --run runs/demo`: join reported clicks to the sample log."""

from greenflow_ray.cli import main

if __name__ == "__main__":
    import sys

    sys.argv.insert(1, "join")
    main()
