#!/usr/bin/env bash
# Takes away what setup-pod-network.sh made.
#
#   teardown-pod-network.sh NUMBER ADDRESS
set -euo pipefail
pod=pod-$1 address=$2
link=veth-$1 chain=POD-$1

iptables -t nat -D POSTROUTING -s "$address/32" -j MASQUERADE
iptables -D FORWARD -o "$link" -j "$chain"
iptables -D FORWARD -i "$link" -j "$chain"
iptables -D INPUT -i "$link" -m conntrack --ctstate NEW -j DROP
iptables -F "$chain"
iptables -X "$chain"
ip link del "$link"
ip netns del "$pod"
