"""What all tests share: hypothesis measures no time, for the machine may be busy."""

import hypothesis

hypothesis.settings.register_profile("nsqkit", deadline=None)
hypothesis.settings.load_profile("nsqkit")
