-- command, key, arguments …: one command that only reads
return { 0, C(ARGV[4], P .. ARGV[5], unpack(ARGV, 6)) }
