-- role, session, lease
local n = guard()
if n < 0 then return { n } end
local t = now()
local till, holder = string.match(C('HGET', P .. 'bellrock:roles', ARGV[4]) or '', '^(%d+) (.*)$')
if till and holder ~= ARGV[5] and tonumber(till) > t then return { n, 0 } end
C('HSET', P .. 'bellrock:roles', ARGV[4], t + ARGV[6] .. ' ' .. ARGV[5])
return { n, 1 }
