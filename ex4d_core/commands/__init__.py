"""One module per subcommand of `ex4d`, or per few that belong together."""
