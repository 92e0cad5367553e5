"""Pages about results: what they say is prepared here, how they look is in ``templates``, ``site.css``, ``site.js``."""
