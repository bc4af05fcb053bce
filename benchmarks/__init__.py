"""The figures that README, CHANGELOG and docs quote, printed again by ``make bench``."""
