"""Several trainings side by side: their design and what comes out."""
