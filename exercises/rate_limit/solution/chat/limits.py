"""How much one connection may send."""

import time


class TokenBucket:
    """Tokens that come back at a steady rate, up to a stock. If you take one too many, you wait for it."""

    def __init__(self, rate, burst, clock=time.monotonic):
        self.rate, self.burst, self.clock = rate, burst, clock
        self.tokens, self.counted_at = burst, clock()

    def take(self):
        """Take a token and return the seconds until it is there: 0, or more when others wait in front."""
        now = self.clock()
        self.tokens = min(self.burst, self.tokens + (now - self.counted_at) * self.rate) - 1
        self.counted_at = now
        return max(0, -self.tokens / self.rate)
