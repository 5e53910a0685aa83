# Has the program set up its configuration and the Wazuh side when the whole transaction, Wazuh's own part included, is done;
# it says in one line what it did and what is left to do. Never fails.
[ -d /var/lib/wazuh-akamai ] || mkdir -m 0700 /var/lib/wazuh-akamai || :
wazuh-akamai --quiet configure --unattended || :
wazuh-akamai --quiet install || :
