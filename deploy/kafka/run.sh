#!/usr/bin/env bash
# A single-node Apache Kafka (KRaft) in the foreground, from jars that Maven fetches once. Needs Java 17 or newer.
#
#   run.sh [DATA_DIR] [PORT] [EXTRA.properties]   start the broker on 127.0.0.1:PORT; the controller has PORT+1
#   run.sh topic NAME PARTITIONS [PORT]           create a topic, unless there is one of that name
#   run.sh fetch                                  fetch the jars and no more
#
# KAFKA_TOPICS       topics to create after the start, as NAME:PARTITIONS (default: millrace.events:8)
# KAFKA_HEAP_OPTS    JVM heap (default: -Xmx512m)
# Exit code 69: Java or Maven is missing, or the jars cannot be had.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
libs=$here/target/libs
unavailable=69

fetch() {
    local major
    major=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p') || true
    if [[ -z $major || $major -lt 17 ]]; then
        echo "kafka: Java 17 or newer is needed, found ${major:-none}" >&2
        exit $unavailable
    fi
    [[ -d $libs && ! $here/pom.xml -nt $libs ]] && return
    if ! command -v mvn >/dev/null; then
        echo "kafka: Maven (mvn) is needed to fetch the broker" >&2
        exit $unavailable
    fi
    local fresh=$libs.$$
    if ! mvn --quiet --batch-mode --file "$here/pom.xml" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$fresh" >&2; then
        rm -rf "$fresh"
        echo "kafka: Maven could not fetch the jars" >&2
        exit $unavailable
    fi
    if [[ $here/pom.xml -nt $libs ]]; then # unless another run was faster
        rm -rf "$libs"
        mv "$fresh" "$libs"
        touch "$libs"
    fi
    rm -rf "$fresh"
}

run_java() {
    local program=$1
    shift
    java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile="$here/log4j2.properties" -cp "$libs/*" "$program" "$@"
}

create_topic() { # NAME PARTITIONS PORT
    run_java org.apache.kafka.tools.TopicCommand --bootstrap-server "127.0.0.1:$3" --create --if-not-exists --topic "$1" --partitions "$2"
}

await_port() { # PORT
    for _ in $(seq 120); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
        sleep 0.5
    done
    echo "kafka: nothing listens on port $1 after 60 s" >&2
    return 1
}

case ${1:-} in
    fetch)
        fetch
        exit
        ;;
    topic)
        fetch
        create_topic "$2" "$3" "${4:-9092}"
        exit
        ;;
esac

data=${1:-$here/../../data/kafka}
port=${2:-9092}
extra=${3:-/dev/null}
fetch
mkdir -p "$data"
data=$(cd "$data" && pwd)

cat "$here/server.properties" - "$extra" >"$data/server.properties" <<PROPERTIES

log.dirs=$data/log
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.quorum.voters=1@127.0.0.1:$((port + 1))
PROPERTIES

if [[ ! -f $data/log/meta.properties ]]; then
    id=$(run_java kafka.tools.StorageTool random-uuid)
    run_java kafka.tools.StorageTool format --cluster-id "$id" --config "$data/server.properties"
fi

for topic in ${KAFKA_TOPICS-millrace.events:8}; do
    (await_port "$port" && create_topic "${topic%:*}" "${topic##*:}" "$port") &
done

echo "kafka: 127.0.0.1:$port, data in $data"
exec java ${KAFKA_HEAP_OPTS:--Xmx512m} -XX:+UseSerialGC -Dlog4j2.configurationFile="$here/log4j2.properties" \
    -cp "$libs/*" kafka.Kafka "$data/server.properties"
