"""More than one process: two web servers and two workers on one broker, and what compose starts."""
