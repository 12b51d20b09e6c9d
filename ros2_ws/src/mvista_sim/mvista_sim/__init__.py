"""A MuJoCo cell: a Piper, four RGB-D cameras, a table and three tasks, behind the stack's ports."""
