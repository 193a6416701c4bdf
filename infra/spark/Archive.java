import java.util.ArrayList;
import java.util.List;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;

/**
 * Asks an archive of Footfall in SQL. The views are
 *
 * blocks   every block as it stands in the files; a batch may stand in several
 * batches  each batch once: blocks without those that have an id twice
 * events   each event of batches, with batch_id, received_at, instance and seq before its own columns
 *
 * Arguments: the files, such as "hdfs://namenode:8020/footfall/archive/2026/11/23/*", and one query or more.
 * Each query's rows come out as lines of JSON, with an empty line between queries.
 */
public final class Archive {
    public static void main(String[] args) {
        if (args.length < 2) {
            System.err.println("usage: Archive FILES QUERY...");
            System.exit(2);
        }
        SparkSession spark = SparkSession.builder()
            .appName("footfall-archive")
            .master(System.getProperty("spark.master", "local[*]"))
            .config("spark.ui.enabled", "false")
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.sql.session.timeZone", "UTC")
            .config("spark.sql.shuffle.partitions", System.getProperty("spark.sql.shuffle.partitions", "4"))
            .getOrCreate();
        try {
            // Names that begin with an underscore, such as _open where files are written, are passed over by Spark itself.
            Dataset<Row> blocks = spark.read().format("avro").option("recursiveFileLookup", "true").option("pathGlobFilter", "*.avro").load(args[0]);
            blocks.createOrReplaceTempView("blocks");
            blocks.dropDuplicates(new String[] {"id"}).createOrReplaceTempView("batches");
            spark.sql("SELECT lower(hex(id)) AS batch_id, received_at, instance, seq, event.* FROM batches LATERAL VIEW posexplode(events) AS seq, event")
                .createOrReplaceTempView("events");
            List<String> out = new ArrayList<>();
            for (int i = 1; i < args.length; i++) {
                if (i > 1) {
                    out.add("");
                }
                out.addAll(spark.sql(args[i]).toJSON().collectAsList());
            }
            out.forEach(System.out::println);
        } finally {
            spark.stop();
        }
    }
}
