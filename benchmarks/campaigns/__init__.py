"""Fault campaigns: a server is killed, starved and overloaded; what an external system has recorded is the judge."""
