"""The jobs: a spec in, results out. Each composes the rooms below and knows none of the others."""
