"""Every fault that can happen to the course's code, made to happen on purpose."""
