"""`python -m slackwater` is the same as `slackwater`."""

from slackwater.cli.start import main

if __name__ == "__main__":
    main()
