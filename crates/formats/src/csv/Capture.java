// What Apache Flink's format `csv` makes of a record, as a Kafka source calls it. Reads records on standard input and prints
// them, each with what came out in the next line; results that stand there already are left out and made anew:
// java -Duser.timezone=UTC -cp "$(tests/peers/flink/flink classpath)" Capture.java <flink.txt >flink.new

import java.nio.charset.StandardCharsets;
import java.util.Scanner;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.formats.csv.CsvFormatFactory;
import org.apache.flink.table.connector.format.ProjectableDecodingFormat;
import org.apache.flink.table.data.*;
import org.apache.flink.table.runtime.connector.source.ScanRuntimeProviderContext;
import org.apache.flink.table.types.logical.*;
import org.apache.flink.table.types.logical.utils.LogicalTypeParser;
import org.apache.flink.table.types.utils.TypeConversions;

public class Capture {
    static DeserializationSchema<RowData> decoder;
    static RowType projected;

    public static void main(String[] args) throws Exception {
        Scanner lines = new Scanner(System.in, StandardCharsets.UTF_8);
        RowType columns = null;
        Configuration options = new Configuration();
        boolean made = false;
        while (lines.hasNextLine()) {
            String line = lines.nextLine();
            if (line.startsWith("    ")) continue;
            System.out.println(line);
            if (line.startsWith("columns ")) {
                columns = (RowType) LogicalTypeParser.parse("ROW<" + line.substring(8) + ">", Capture.class.getClassLoader());
                options = new Configuration();
                projected = columns;
                made = false;
            } else if (line.startsWith("option ")) {
                String[] pair = line.substring(7).split("=", 2);
                options.setString(pair[0], pair[1]);
            } else if (line.startsWith("project ")) {
                java.util.List<RowType.RowField> fields = new java.util.ArrayList<>();
                for (String n : line.substring(8).split(" ")) fields.add(columns.getFields().get(Integer.parseInt(n)));
                projected = new RowType(fields);
            } else if (line.startsWith("> ")) {
                if (!made) {
                    decoder = null;
                    try {
                        decoder = make(columns, options);
                    } catch (Throwable error) {
                        System.out.println("    !! " + first(error));
                    }
                    made = true;
                }
                if (decoder != null) record(unescape(line.substring(2)));
            }
        }
    }

    static DeserializationSchema<RowData> make(RowType columns, Configuration options) throws Exception {
        var format = (ProjectableDecodingFormat<DeserializationSchema<RowData>>)
                (Object) new CsvFormatFactory().createDecodingFormat(null, options);
        int[][] paths = new int[projected.getFieldCount()][];
        for (int n = 0; n < paths.length; n++) paths[n] = new int[] {columns.getFieldNames().indexOf(projected.getFieldNames().get(n))};
        var made = format.createRuntimeDecoder(
                ScanRuntimeProviderContext.INSTANCE, TypeConversions.fromLogicalToDataType(columns), paths);
        made.open(null);
        return made;
    }

    static void record(byte[] bytes) {
        try {
            RowData row = decoder.deserialize(bytes);
            System.out.println("    " + (row == null ? "(none)" : show(row, projected, "|")));
        } catch (Throwable error) {
            System.out.println("    ! " + cause(error));
        }
    }

    static String first(Throwable error) {
        return escape(String.valueOf(error.getMessage()).split("\n")[0].getBytes(StandardCharsets.UTF_8));
    }

    static String cause(Throwable error) {
        return first(error.getCause() == null ? error : error.getCause());
    }

    static String show(RowData row, RowType type, String between) {
        StringBuilder out = new StringBuilder();
        for (int n = 0; n < type.getFieldCount(); n++) {
            LogicalType of = type.getTypeAt(n);
            out.append(n == 0 ? "" : between);
            out.append(show(RowData.createFieldGetter(of, n).getFieldOrNull(row), of));
        }
        return out.toString();
    }

    static String show(Object value, LogicalType type) {
        if (value == null) return "NULL";
        if (value instanceof StringData text) return "'" + escape(text.toBytes()) + "'";
        if (value instanceof DecimalData decimal) return decimal.toBigDecimal().toPlainString();
        if (value instanceof TimestampData at) return String.valueOf(at.getMillisecond() * 1000 + at.getNanoOfMillisecond() / 1000);
        if (value instanceof byte[] bytes) return "x'" + java.util.HexFormat.of().formatHex(bytes) + "'";
        if (value instanceof RowData row) return "(" + show(row, (RowType) type, ";") + ")";
        if (value instanceof ArrayData array) {
            LogicalType of = ((ArrayType) type).getElementType();
            StringBuilder out = new StringBuilder("[");
            for (int n = 0; n < array.size(); n++) {
                out.append(n == 0 ? "" : ";");
                out.append(show(ArrayData.createElementGetter(of).getElementOrNull(array, n), of));
            }
            return out.append("]").toString();
        }
        return value.toString();
    }

    /** Printable ASCII as it is; the rest as \xNN, but for the usual three. */
    static String escape(byte[] bytes) {
        StringBuilder out = new StringBuilder();
        for (byte b : bytes) {
            switch (b) {
                case '\n' -> out.append("\\n");
                case '\r' -> out.append("\\r");
                case '\t' -> out.append("\\t");
                case '\\' -> out.append("\\\\");
                default -> out.append(b >= 32 && b < 127 ? String.valueOf((char) b) : String.format("\\x%02x", b));
            }
        }
        return out.toString();
    }

    static byte[] unescape(String text) {
        var out = new java.io.ByteArrayOutputStream();
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        for (int n = 0; n < bytes.length; n++) {
            if (bytes[n] != '\\') {
                out.write(bytes[n]);
                continue;
            }
            switch (bytes[++n]) {
                case 'n' -> out.write('\n');
                case 'r' -> out.write('\r');
                case 't' -> out.write('\t');
                case '\\' -> out.write('\\');
                case 'x' -> {
                    out.write(Integer.parseInt(new String(bytes, n + 1, 2), 16));
                    n += 2;
                }
                default -> throw new IllegalArgumentException(text);
            }
        }
        return out.toByteArray();
    }
}
