-- session, instance, lease
local n = guard()
if n < 0 then return { n } end
local session, instance, t = ARGV[4], ARGV[5], now()
local holder = C('HGET', P .. 'bellrock:instances', instance)
if holder and holder ~= session and is_live(holder, t) then return { n, 0 } end
C('HSET', P .. 'bellrock:instances', instance, session)
local since = is_live(session, t) and string.match(C('GET', P .. 'bellrock:since:' .. session) or '', '^%d+') or t
C('SET', P .. 'bellrock:since:' .. session, since .. ' ' .. ARGV[6], 'PX', ARGV[6])
C('ZADD', SESSIONS, t + ARGV[6], session)
return { n, 1 }
