"""The crash matrix: relay is killed at named points, again and again; check that everything
arrives.
"""
