package io.pyseriniext;

import java.util.LinkedHashMap;
import java.util.Map;

/** Counts what was read, dropped and kept; one for each thread, added up at the end. */
final class Tally {
  long documents;
  long empty; // without a weight over 0
  long emptied; // of which pruning or rounding left nothing
  long read; // weights over 0
  long zero;
  long unknown; // not in the idf table
  long worthless; // idf * weight is 0
  long belowThreshold;
  long belowMass;
  long belowKeep;
  long overCap;
  long toZero; // by rounding
  long clipped;
  long postings;
  int largest;
  double massRead; // of idf * weight
  double massKept; // after pruning
  double errorSum;
  double errorMost;

  synchronized void add(Tally other) {
    documents += other.documents;
    empty += other.empty;
    emptied += other.emptied;
    read += other.read;
    zero += other.zero;
    unknown += other.unknown;
    worthless += other.worthless;
    belowThreshold += other.belowThreshold;
    belowMass += other.belowMass;
    belowKeep += other.belowKeep;
    overCap += other.overCap;
    toZero += other.toZero;
    clipped += other.clipped;
    postings += other.postings;
    largest = Math.max(largest, other.largest);
    massRead += other.massRead;
    massKept += other.massKept;
    errorSum += other.errorSum;
    errorMost = Math.max(errorMost, other.errorMost);
  }

  Map<String, Object> toMap() {
    Map<String, Object> map = new LinkedHashMap<>();
    map.put("documents", documents);
    map.put("documents_without_weights", empty);
    map.put("documents_emptied", emptied);
    map.put("weights", read);
    map.put("weights_zero", zero);
    map.put("weights_not_in_idf", unknown);
    map.put("dropped_idf_zero", worthless);
    map.put("dropped_threshold", belowThreshold);
    map.put("dropped_mass", belowMass);
    map.put("dropped_keep", belowKeep);
    map.put("dropped_cap", overCap);
    map.put("dropped_rounded_to_zero", toZero);
    map.put("clipped", clipped);
    map.put("postings", postings);
    map.put("largest_impact", largest);
    map.put("mass_kept", massRead > 0 ? massKept / massRead : 1.0);
    map.put("mean_error", postings > 0 ? errorSum / postings : 0.0);
    map.put("max_error", errorMost);
    return map;
  }
}
