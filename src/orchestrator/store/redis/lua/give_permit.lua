-- region:account:group, holder, number
local book = P .. 'bellrock:permits:' .. ARGV[4]
if string.match(C('HGET', book, ARGV[5]) or '', '^%d+') == ARGV[6] then C('HDEL', book, ARGV[5]) end
return { 0 }
