# Removes our folders if nothing is left in them; configuration, state and log are kept. Never fails.
if [ "$1" = 0 ]; then
    rmdir /usr/share/wazuh-akamai/* /usr/share/wazuh-akamai /usr/share/doc/wazuh-akamai /usr/share/licenses/wazuh-akamai \
        /etc/wazuh-akamai /var/lib/wazuh-akamai 2>/dev/null || :
fi
