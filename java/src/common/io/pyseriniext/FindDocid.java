package io.pyseriniext;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** Finds the lines of a document, for the message about a docid that comes twice. */
public final class FindDocid extends LineJob {
  private final String field;
  private final String docid;
  private final List<String> places = Collections.synchronizedList(new ArrayList<>());

  public FindDocid(byte[] files, String field, String docid) {
    super(files, 1);
    this.field = field;
    this.docid = docid;
  }

  /** Returns the files and lines, in order. */
  public String places() {
    return String.join(" and ", places);
  }

  @Override
  Worker worker() {
    SparseJson document = new SparseJson(field);
    return new Worker() {
      @Override
      public void accept(Lines.Batch batch, int i) {
        document.read(batch.data, batch.starts[i], batch.ends[i]);
        if (document.docid.equals(docid)) {
          places.add(batch.place(i));
        }
      }

      @Override
      public void finish() {}
    };
  }
}
