"""`ray job submit -- python jobs/loadtest.py --run runs/demo`: open-loop traffic against a running application."""

from greenflow_ray.cli import main

if __name__ == "__main__":
    import sys

    sys.argv.insert(1, "loadtest")
    main()
