from hypothesis import settings

# A busy machine is no reason to fail: these tests are about results, not about time.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
