"""The promises that step 5's own tests prove with the development settings, under those of production."""

import os
import subprocess
import sys

from tests.promises.faults.chat import STEP
from tests.promises.faults.test_guarantees import PAGE, PROMISES, proofs

# Production's policy forbids the way it waits; the delay is the page's own, whatever the settings.
ELSEWHERE = "test_the_delay_grows_up_to_a_limit_and_is_random"


def test_what_the_step_proves_holds_in_production_too(production_env):
    """Each promise whose proof is a test of step 5 holds with config.production and PostgreSQL as well."""
    found = [proof for promise in PROMISES for proof in proofs(PAGE, promise)]
    names = [f"{path}::{name}" for path, name in found if path.is_relative_to(STEP) and name != ELSEWHERE]
    assert names
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *names]
    done = subprocess.run(command, cwd=STEP, env=env | production_env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
