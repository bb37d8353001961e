-- since, session: the clock, and the first times after it at which something is due, a session runs out, this one may adopt from all that did
local due = C('ZRANGEBYSCORE', DUE, '(' .. ARGV[4], '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local dies = C('ZRANGEBYSCORE', SESSIONS, '(' .. ARGV[4], '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local since, lease = string.match(C('GET', P .. 'bellrock:since:' .. ARGV[5]) or '', '^(%d+) (%d+)$')
local heard = since and since + lease or 0
return { 0, now(), due[2] or '', dies[2] or '', heard > tonumber(ARGV[4]) and heard or '' }
