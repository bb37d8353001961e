-- command, key, arguments …: one command that changes something
local n = guard()
if n < 0 then return { n } end
return { n, C(ARGV[4], P .. ARGV[5], unpack(ARGV, 6)) }
