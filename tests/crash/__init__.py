"""The crash matrix: kills relay at named points again and again, and checks what arrives."""
