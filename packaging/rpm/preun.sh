# Has the program take the Wazuh side out again when the package goes; an upgrade leaves it. A configuration that nobody has
# filled in goes too. Never fails.
if [ "$1" = 0 ]; then
    wazuh-akamai --quiet uninstall || :
    config=/etc/wazuh-akamai/akamai_config.ini
    if [ "$(cat "$config" 2>/dev/null)" = "$(cat /usr/share/wazuh-akamai/akamai_config.ini 2>/dev/null)" ]; then rm -f "$config" || :; fi
fi
