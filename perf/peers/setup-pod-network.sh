#!/usr/bin/env bash
# A pod's network by hand, as the seed of podgate set it up: one process per step. Its
# mistakes are put right: subnets of four addresses so that there may be more than 256,
# links named by a number so that they stay apart, a pod's traffic judged where it is
# forwarded (not by the owner of a process on the node), spoofed sources and metadata
# dropped, and a chain of its own for each pod, so that it can be taken away again.
#
#   setup-pod-network.sh NUMBER ADDRESS GATEWAY EDGE
set -euo pipefail
pod=pod-$1 address=$2 gateway=$3 edge=$4
link=veth-$1 chain=POD-$1

ip netns add "$pod"
ip link add "$link" type veth peer name eth0 netns "$pod"
ip addr add "$gateway/30" dev "$link"
ip link set "$link" up
ip -n "$pod" addr add "$address/30" dev eth0
ip -n "$pod" link set eth0 up
ip -n "$pod" link set lo up
ip -n "$pod" route add default via "$gateway"

iptables -N "$chain"
iptables -A "$chain" -i "$link" ! -s "$address" -j DROP
iptables -A "$chain" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A "$chain" -d 169.254.0.0/16 -j DROP
iptables -A "$chain" -i "$link" -j RETURN
iptables -A "$chain" -o "$link" -s "$edge" -j RETURN
iptables -A "$chain" -o "$link" -j DROP
iptables -A INPUT -i "$link" -m conntrack --ctstate NEW -j DROP
iptables -A FORWARD -i "$link" -j "$chain"
iptables -A FORWARD -o "$link" -j "$chain"
iptables -t nat -A POSTROUTING -s "$address/32" -j MASQUERADE
