"""`python -m pipelines.cli`: the same as `collect`."""

from pipelines.cli.main import main

main()
