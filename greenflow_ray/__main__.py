"""`python -m greenflow_ray`: the command line, where the `greenflow` script is not on the path."""

from greenflow_ray.cli import main

if __name__ == "__main__":
    main()
