"""Every fault that can happen to the course's code, provoked on purpose."""
