# Sets up the Wazuh side, on installation and upgrade. What Wazuh is like never fails the transaction.
if [ "$1" = 1 ] && [ -n "$AKAMAI_HOST" ]; then
    wazuh-akamai --quiet configure --no-test || echo "wazuh-akamai: run: wazuh-akamai configure"
fi
wazuh-akamai --quiet install >/dev/null ||
    echo "wazuh-akamai: the Wazuh side is not set up; see why: wazuh-akamai install"
echo "wazuh-akamai: what is left to do: wazuh-akamai check"
