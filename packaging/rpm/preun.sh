# Takes the Wazuh side out again when the package goes; an upgrade leaves it.
if [ "$1" = 0 ]; then
    wazuh-akamai --quiet uninstall >/dev/null ||
        echo "wazuh-akamai: the Wazuh side could not be taken out; see why: wazuh-akamai uninstall"
fi
