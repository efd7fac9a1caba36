"""The agent's REST API: what it shows and takes, for people, programs and the command line.

Only the API's own process imports the web framework. `answers`, `stores`, `views` and `controls`
do without it: the command line uses them by itself where no API runs.
"""
