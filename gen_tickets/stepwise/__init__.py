"""The search for a step schedule: a ticket family, what every swap costs and damages, and what is best for a budget.

`family` and `grid` say between whom and where to choose, `costs` and `damage` measure, `solve` finds the whole front
of schedules, `baselines` what anybody would try, `refine` and `verify` look at schedules as a whole, `tune` and
`joint` train tickets for theirs.
"""
