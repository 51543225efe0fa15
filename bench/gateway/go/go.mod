module muster/bench/gateway

go 1.21
