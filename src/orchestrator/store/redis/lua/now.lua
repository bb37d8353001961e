return { 0, now() }
