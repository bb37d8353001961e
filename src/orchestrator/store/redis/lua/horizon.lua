-- since: the clock, and the first times after it at which something is due or a session runs out
local due = C('ZRANGEBYSCORE', DUE, '(' .. ARGV[4], '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local dies = C('ZRANGEBYSCORE', SESSIONS, '(' .. ARGV[4], '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
return { 0, now(), due[2] or '', dies[2] or '' }
