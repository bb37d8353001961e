-- id, epoch and session, after
local k, owner = find(ARGV[4])
if not k or owner ~= ARGV[5] then return { 0, {} } end
return { 0, C('ZRANGEBYSCORE', P .. 'bellrock:inbox:' .. ARGV[4], '(' .. ARGV[6], '+inf', 'LIMIT', 0, 100) }
