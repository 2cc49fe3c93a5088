package io.pyseriniext;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.anserini.index.Constants;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.lucene.document.BinaryDocValuesField;
import org.apache.lucene.document.Document;
import org.apache.lucene.document.Field;
import org.apache.lucene.document.FieldType;
import org.apache.lucene.document.StoredField;
import org.apache.lucene.document.StringField;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.IndexReader;
import org.apache.lucene.index.IndexWriter;
import org.apache.lucene.index.IndexWriterConfig;
import org.apache.lucene.index.MultiTerms;
import org.apache.lucene.index.Terms;
import org.apache.lucene.index.TermsEnum;
import org.apache.lucene.store.FSDirectory;
import org.apache.lucene.util.BytesRef;

/** Writes an impact index that Anserini's searcher reads, straight from sparse vectors. */
public final class ImpactWriter extends LineJob {
  /** Key of what {@link #commit} is given, in the user data of Lucene's commit. */
  static final String USER_DATA = "pyserini-ext";

  private static final ObjectMapper JSON = new ObjectMapper();

  private final String field;
  private final Quantiser.Plan plan;
  private final boolean storeText;
  private final FieldType type;
  private final IndexWriter writer;
  private final Tally tally = new Tally();

  /**
   * Opens the writer; nothing looks like an index before {@link #commit}.
   *
   * @param files strings
   * @param folder of the index
   * @param options JSON
   * @param tokens of the idf table, strings
   * @param idf of the tokens, float64
   */
  public ImpactWriter(
      byte[] files, String folder, String options, byte[] tokens, byte[] idf, int threads)
      throws IOException {
    super(files, threads);
    JsonNode given = JSON.readTree(options);
    field = given.get("field").asText();
    storeText = given.get("store_text").asBoolean();
    plan =
        new Quantiser.Plan(
            given.get("scale").asDouble(),
            given.get("premultiply").asBoolean(),
            given.get("idf").asBoolean() ? table(tokens, idf) : null,
            given.get("missing_idf").asDouble(),
            given.get("clip").asInt(),
            given.get("threshold").asDouble(),
            given.get("mass").asDouble(),
            given.get("keep").asDouble(),
            given.get("cap").asInt());
    type = SparseVectors.type(given.get("store_vectors").asBoolean());
    IndexWriterConfig config = new IndexWriterConfig();
    config.setOpenMode(IndexWriterConfig.OpenMode.CREATE);
    config.setRAMBufferSizeMB(given.get("buffer_mb").asDouble());
    config.setUseCompoundFile(false);
    writer = new IndexWriter(FSDirectory.open(Path.of(folder)), config);
  }

  /** Returns what was read, dropped and kept, as JSON. */
  public String report() throws IOException {
    return JSON.writeValueAsString(tally.toMap());
  }

  /** Returns a docid that came twice, or null; reads the sorted docids once, in no memory. */
  public String duplicate() throws IOException {
    try (IndexReader reader = DirectoryReader.open(writer)) {
      Terms docids = MultiTerms.getTerms(reader, Constants.ID);
      if (docids != null) {
        TermsEnum terms = docids.iterator();
        for (BytesRef docid; (docid = terms.next()) != null; ) {
          if (terms.docFreq() > 1) {
            return docid.utf8ToString();
          }
        }
      }
      return null;
    }
  }

  /** Makes the index: until now there was none. */
  public void commit(String userData, boolean merge) throws IOException {
    if (merge) {
      writer.forceMerge(1);
    }
    writer.setLiveCommitData(Map.of(USER_DATA, userData).entrySet());
    writer.commit();
    writer.close();
    writer.getDirectory().close();
  }

  /** Gives up. */
  public void abort() throws IOException {
    writer.rollback();
    writer.getDirectory().close();
  }

  @Override
  Worker worker() {
    SparseJson source = new SparseJson(field);
    Quantiser quantiser = new Quantiser(plan);
    ImpactStream stream = new ImpactStream();
    StringField id = new StringField(Constants.ID, "", Field.Store.YES);
    BinaryDocValuesField value = new BinaryDocValuesField(Constants.ID, new BytesRef());
    StoredField raw = new StoredField(Constants.RAW, "");
    List<Field> fields =
        new ArrayList<>(List.of(id, value, new Field(Constants.CONTENTS, stream, type)));
    if (storeText) {
      fields.add(raw);
    }
    Document document = new Document();
    fields.forEach(document::add);
    return new Worker() {
      @Override
      public void accept(Lines.Batch batch, int i) throws IOException {
        source.read(batch.data, batch.starts[i], batch.ends[i]);
        quantiser.apply(source);
        stream.set(quantiser.tokens, quantiser.impacts, quantiser.count);
        id.setStringValue(source.docid);
        value.setBytesValue(new BytesRef(source.docid));
        if (storeText) {
          raw.setStringValue(source.raw());
        }
        writer.addDocument(document);
      }

      @Override
      public void finish() {
        tally.add(quantiser.tally);
      }
    };
  }

  private static Map<String, Double> table(byte[] tokens, byte[] idf) {
    String[] names = Bytes.strings(tokens);
    double[] numbers = Bytes.doubles(idf);
    Map<String, Double> table = new HashMap<>(2 * names.length);
    for (int i = 0; i < names.length; i++) {
      table.put(names[i], numbers[i]);
    }
    return table;
  }
}
